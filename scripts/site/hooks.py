"""What mkdocs calls: adds the pages that are made from the code, the README and the notebooks."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from scripts.site import api_page, commands_page, notebooks, settings_page

ROOT = Path(__file__).resolve().parents[2]
_GLOSSARY = "\n## Glossary\n"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """The generated pages beside those of docs/."""
    pages = {
        "index.md": home((ROOT / "README.md").read_text(encoding="utf-8")),
        "settings.md": settings_page.experiment_page(),
        "method-settings.md": settings_page.methods_page(),
        "command-help.md": commands_page.page(),
        "api.md": api_page.page(),
        "glossary.md": glossary((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")),
        **{source.with_suffix(".md").name: notebooks.page(source) for source in notebooks.sources()},
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """On the site the glossary, which is part of the architecture, has a page of its own."""
    if page.file.src_uri == "architecture.md":
        markdown = (
            markdown.partition(_GLOSSARY)[0] + "\n## Glossary\n\nThe [glossary](glossary.md) is a page of its own.\n"
        )
    return markdown


def home(readme: str) -> str:
    """The README as the first page: links begin at docs/, and notebooks are pages."""
    return re.sub(r"\]\(docs/([\w-]+)\.ipynb\)", r"](\1.md)", readme).replace("](docs/", "](")


def glossary(architecture: str) -> str:
    """The glossary of the architecture, as a page."""
    return "# Glossary\n" + architecture.partition(_GLOSSARY)[2]
