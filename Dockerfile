# Two images: `serve` answers predictions; `train`, the worker, retrains, and alone has TensorFlow. `make image` makes
# both. What changes often comes late, so a change of code rebuilds only the last steps.

FROM python:3.11-slim-bookworm AS base
# A fixed number, so that files in volumes keep their owner from one release to the next.
RUN groupadd --gid 10001 digits \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin digits \
    && install --directory --owner 10001 --group 10001 --mode 700 /models /state \
    && install --directory /data
# The root file system may be read-only: what libraries like to write at home goes to /tmp.
ENV HOME=/tmp PATH=/opt/digits/bin:$PATH DIGITS_MODELS=/models DIGITS_STATE=/state
# The C library gives the memory of a large picture back at once. With its own choice, 25 megapixels in many formats one
# after the other took 500 MB; so they take 333.
ENV MALLOC_MMAP_THRESHOLD_=4194304
LABEL org.opencontainers.image.title="Digits" \
      org.opencontainers.image.description="A REST service that reads handwritten digits" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"


# Here packages are installed; only the environment that comes out is copied on. It has no pip of its own.
FROM base AS installer
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_CONSTRAINT=/build/constraints.txt
WORKDIR /build
RUN apt-get update && apt-get install --yes --no-install-recommends binutils
COPY pyproject.toml constraints.txt ./
RUN pip install setuptools && python -m venv --without-pip /opt/digits
# Requirements by group, from the one place where they stand, so that they can be installed before the code is there.
RUN python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
    groups = {"serve": project["dependencies"], **project["optional-dependencies"]}; \
    [open(f"{name}.txt", "w").write("\n".join(lines)) for name, lines in groups.items()]'


FROM installer AS code
COPY README.md LICENSE ./
COPY models/digits models/digits
COPY training training
COPY app app
RUN pip install --no-deps --no-build-isolation --target /opt/code .


FROM installer AS serving-packages
RUN pip --python /opt/digits/bin/python install --requirement serve.txt --requirement postgres.txt
# What serving never loads. Of OpenVINO the CPU plugin and the reader of its own format stay; of Pillow what draws text,
# manages colours and reads AVIF goes; of SQLAlchemy the databases that are no choice here.
RUN cd /opt/digits/lib/python3.11/site-packages \
    && rm -rf openvino/include openvino/cmake openvino/tools openvino/torch \
        openvino/frontend/*/ openvino/libs/cache.json openvino/libs/tbb.pc openvino/libs/libopenvino_c.so* \
        openvino/libs/libopenvino_intel_[gn]pu_plugin.so openvino/libs/libopenvino_auto*_plugin.so \
        openvino/libs/libopenvino_hetero_plugin.so openvino/libs/libtbbmalloc_proxy.so* \
        PIL/_avif.* PIL/_imagingft.* PIL/_imagingcms.* PIL/_imagingtk.* \
        pillow.libs/libavif-* pillow.libs/libfreetype-* pillow.libs/libharfbuzz-* pillow.libs/liblcms2-* \
        pillow.libs/libbrotli* pillow.libs/libpng16-* \
        sqlalchemy/dialects/mysql sqlalchemy/dialects/oracle sqlalchemy/dialects/mssql sqlalchemy/testing \
        alembic/testing alembic/templates fastapi_offline/static/redoc* \
        numpy/distutils numpy/f2py numpy/_core/include numpy/_core/lib numpy/random/lib ../../bin/*.py ../../include \
    && find openvino/libs -name '*_frontend.so*' ! -name '*_ir_*' -delete \
    && find . -type d -name tests -prune -exec rm -rf {} + \
    && find . -type f \( -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ch]' \) -delete \
    && find uvloop -name '*.so' -exec strip --strip-unneeded {} +


FROM base AS serve
COPY --from=serving-packages /opt/digits /opt/digits
VOLUME ["/models", "/state"]
USER 10001:10001
EXPOSE 8000
# Of the standard library alone, and little of that: it is started anew for every look.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["python", "-ISc", "import http.client, sys; \
c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/health/ready'); \
sys.exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "app", "--host", "0.0.0.0", "--seed"]
COPY --from=code /opt/code /opt/digits/lib/python3.11/site-packages


FROM installer AS training-packages
RUN pip --python /opt/digits/bin/python install \
    --requirement serve.txt --requirement train.txt --requirement postgres.txt
# Headers for programs that are built against TensorFlow, and a compiler's library that nothing here loads.
RUN cd /opt/digits/lib/python3.11/site-packages \
    && rm -rf tensorflow/include clang openvino/include ../../include \
    && find . -type d -name tests -prune -exec rm -rf {} +


FROM base AS train
COPY --from=training-packages /opt/digits /opt/digits
ENV DIGITS_DATA=/data
VOLUME ["/models", "/state"]
USER 10001:10001
CMD ["python", "-m", "app.retraining.worker"]
COPY --from=code /opt/code /opt/digits/lib/python3.11/site-packages
