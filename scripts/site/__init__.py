"""The site's generated pages, and its checks; `mkdocs.yml` names `hooks.py`, and `.ci/site` runs all of it."""
