"""The page: a client of a server's HTTP endpoints, drawn by Gradio. Imported only where asked for.

`page.mount` hangs it on a server; nothing here knows models, engines or the registry.
"""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read while Gradio is imported
