# Debian's PostgreSQL with as much of the official image's manners as docker-compose.yml relies on, for tests where that
# image cannot be had.
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql \
    && install --directory --owner postgres --mode 700 /var/lib/postgresql/data
USER postgres
CMD ["sh", "-ec", "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH; cd /var/lib/postgresql/data; \
    if [ ! -e PG_VERSION ]; then \
        echo \"$POSTGRES_PASSWORD\" >/tmp/password; \
        initdb --encoding UTF8 --locale C.UTF-8 --username \"$POSTGRES_USER\" --auth scram-sha-256 --pwfile /tmp/password . >/dev/null; \
        echo 'host all all all scram-sha-256' >>pg_hba.conf; \
        echo 'local all all trust' | cat - pg_hba.conf >/tmp/hba; cat /tmp/hba >pg_hba.conf; \
        echo \"CREATE DATABASE $POSTGRES_USER\" | postgres --single -D . postgres >/dev/null; \
    fi; \
    exec postgres -D . -c listen_addresses='*'"]
