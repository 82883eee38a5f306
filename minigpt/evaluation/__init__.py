"""How good a model is: bits per byte beside baselines, samples, and the page that shows them."""
