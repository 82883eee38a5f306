"""The GPT: plain modules, one file a part; `build.build_model` puts them together."""
