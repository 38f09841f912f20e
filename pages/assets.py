"""The files that all pages of a root share: styles and scripts of this project, TFMA's elements,
Facets Overview. Copied once a root.
"""

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
    """Brings the shared files into a folder; returns whether Facets Overview is among them.

    Raises:
      AssetError: TFMA's elements are not where TFMA has them.
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
    """Where the installed TFMA has its elements.

    Raises:
      AssetError: it is not there.
    """
    path = _package('tensorflow_model_analysis', 'static', TFMA)
    if path is None:
        raise AssetError(
            f'tensorflow_model_analysis has no static/{TFMA}: the environment is broken; remove '
            '.venv and run `make environment`'
        )
    return path


def facets_source() -> Path | None:
    """Where Facets is, which comes with the package witwidget; None where that is not installed."""
    return _package('witwidget', *_FACETS_FILE)


def facets_page(source: str) -> str:
    """A page with the element of Facets Overview alone, that waits for statistics from the page
    around it.
    """
    # Behind the definitions of all elements stands the tool that the package is for.
    library = source[: source.rindex('<wit-dashboard')]
    # Fonts of the server that the tool was made for: those that are installed here do.
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
    """Changes with the code, the templates and the scripts of the pages: what was written by others
    is written again.
    """
    hashed = hashlib.sha256()
    for path in sorted(
        path for path in _CODE.rglob('*') if path.suffix in ('.py', '.html', '.css', '.js')
    ):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def _package(name: str, *parts: str) -> Path | None:
    """A file of an installed package, which is not imported for it."""
    spec = importlib.util.find_spec(name)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place, *parts)
        if path.exists():
            return path
    return None
