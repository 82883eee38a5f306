"""The server: FastAPI in one process, each model in a worker process of its own."""
