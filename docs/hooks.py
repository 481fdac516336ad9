"""What the site takes from elsewhere in the repository.

Pages and pictures that live outside `docs/` keep their places in the site: `../results/x.svg` in `docs/index.md`, which
is right for whoever reads the file in the repository, is `results/x.svg` there.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
TAKEN = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "results/README.md",
    "results/leaderboards/*.csv",
    "results/leaderboards/pictures/*",
    "results/judging/*.svg",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for pattern in TAKEN:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    for folder in ("results/", "CHANGELOG.md", "CONTRIBUTING.md"):
        markdown = markdown.replace(f"../{folder}", folder)
    return markdown
