"""Give MkDocs the pages of the repository at their own paths, so that a link works in the repository and the site."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[2]
PATTERNS = (
    "*.md",
    "docs/*",
    "roles/*/README.md",
    "lab/*/README.md",
    "requirements/README.md",
    "LICENSE",
    "examples/*",
    "examples/*/*",
    "examples/*/*/*",
)


def on_config(config: Any) -> Any:
    """Make the anchors of headings as repository hosts make them, so that links with a fragment work in both places."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add every page of the repository, and the files that pages link to."""
    for path in sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern) if path.is_file()):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files
