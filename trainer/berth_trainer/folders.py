"""What a run leaves under its output folder, where more than one module must know the name."""

FINAL_MODEL = "final_model"
FINAL_ADAPTER = "final_adapter"
