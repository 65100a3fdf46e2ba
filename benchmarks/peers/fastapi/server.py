"""FastAPI, tuned: OpenVINO, a process for each core, uvloop and httptools, no validation of the reply.

The engine runs on the event loop, with one thread. A pool of threads, with a lock or with an infer request for each,
took a quarter to three quarters more processor time a request, and answered fewer a second.
"""

from fastapi import FastAPI, UploadFile
from fastapi.responses import JSONResponse

from benchmarks.peers.network import Network, read, reply

app = FastAPI()
network = Network(threads=1)


@app.post("/predict")
async def predict(file: UploadFile) -> JSONResponse:
    """Read one digit."""
    return JSONResponse(reply(network(read(await file.read())[None])[0]))
