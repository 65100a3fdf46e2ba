"""As tutorials have it: a file upload, Keras `predict` on the one image. Nothing is tuned."""

import io
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from fastapi import FastAPI, UploadFile
from PIL import Image

app = FastAPI()
model = keras.models.load_model(Path(os.environ["NETWORK"], "model.keras"))


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, Any]:
    """Read one digit."""
    image = Image.open(io.BytesIO(await file.read())).convert("L").resize((28, 28))
    pixels = np.array(image).reshape(1, 28, 28, 1)  # the network itself divides by 255
    probabilities = model.predict(pixels)[0]
    digit = int(np.argmax(probabilities))
    return {"digit": digit, "confidence": float(probabilities[digit]), "probabilities": probabilities.tolist()}
