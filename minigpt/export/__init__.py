"""Other people's formats: `exporters` fill folders, `verify` proves them to be the model."""
