"""Copies the files that all pages of a root share: styles, scripts, TFMA's elements, Facets."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path

from pages import files

_OWN = Path(__file__).parent / 'assets'
_CODE = Path(__file__).parent
TFMA = 'vulcanized_tfma.js'
FACETS = 'facets.html'
_FACETS_FILE = ('static', 'wit_jupyter.html')


class AssetError(RuntimeError):
    """A file that the pages need is not installed."""


def write(folder: Path) -> bool:
    """Copies the shared files into a folder; returns whether Facets Overview is among them.

    Raises:
      AssetError: the installed TFMA does not contain its elements.
      OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(_OWN.iterdir()):
        files.copy(source, folder / source.name)
    files.copy(tfma_source(), folder / TFMA)
    facets = facets_source()
    if facets is None:
        return False
    target = folder / FACETS
    if not target.exists() or target.stat().st_mtime < facets.stat().st_mtime:
        files.write_text(target, facets_page(facets.read_text(encoding='utf-8')))
    return True


def tfma_source() -> Path:
    """The file with the elements of the installed TFMA.

    Raises:
      AssetError: the file does not exist.
    """
    path = _package('tensorflow_model_analysis', 'static', TFMA)
    if path is None:
        raise AssetError(
            f'tensorflow_model_analysis has no static/{TFMA}: the environment is broken; remove '
            '.venv and run `make environment`'
        )
    return path


def facets_source() -> Path | None:
    """The file with Facets, from the package witwidget; None if that is not installed."""
    return _package('witwidget', *_FACETS_FILE)


def facets_page(source: str) -> str:
    """A page with only the element Facets Overview, which gets statistics from the parent page."""
    # The file defines all elements and then uses the tool of the package, which is cut off here.
    library = source[: source.rindex('<wit-dashboard')]
    # Remove fonts from the tool's own server; the browser uses installed fonts.
    library = re.sub(r',\s*url\(/font-roboto/[^)]*\)\s*format\([^)]*\)', '', library)
    return (
        library
        + """<facets-overview id="overview"></facets-overview>
<script>
window.addEventListener('message', (event) => {
  if (event.source === window.parent && event.data.facets)
    document.getElementById('overview').protoInput = event.data.facets;
});
window.parent.postMessage('facets ready', '*');
</script>
"""
    )


def digest() -> str:
    """A digest of the pages' code, templates and scripts; if it changes, pages are rewritten."""
    hashed = hashlib.sha256()
    for path in sorted(
        path for path in _CODE.rglob('*') if path.suffix in ('.py', '.html', '.css', '.js')
    ):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def _package(name: str, *parts: str) -> Path | None:
    """A file of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(name)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, *parts)
        if path.exists():
            return path
    return None
