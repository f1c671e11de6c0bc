"""Write what repeats the definition of the protocol; with --check say what is outdated.

Usage: python scripts/protocol.py [--check]

The definition is fast_vc_service/protocol. Written of it are the AsyncAPI document, the client's
Python types, the TypeScript declarations and option names, and tables and examples of the pages.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from fast_vc_service.server.websocket.asyncapi import describe
from pages import ROOT
from protocol_pages import write_page
from protocol_python import python_types
from protocol_typescript import option_names, write_declarations

ASYNCAPI = Path("docs/api_docs/asyncapi.json")
PYTHON_TYPES = Path("fast_vc_service/client/protocol_types.py")
DECLARATIONS = Path("fast_vc_service/web/client/client.d.ts")
OPTION_NAMES = Path("fast_vc_service/web/client/options.js")
PAGES = (
    Path("docs/api_docs/websocket-api-doc.md"),
    Path("docs/api_docs/websocket-api-doc_zh.md"),
    Path("docs/troubleshooting.md"),
)


def written() -> Iterator[tuple[Path, str]]:
    """Yield each file, relative to the repository, and what it should be."""
    yield ASYNCAPI, json.dumps(describe(), indent=2, ensure_ascii=False) + "\n"
    yield PYTHON_TYPES, python_types()
    yield DECLARATIONS, write_declarations(_read(DECLARATIONS))
    yield OPTION_NAMES, option_names()
    for page in PAGES:
        yield page, write_page(_read(page), chinese=page.stem.endswith("_zh"))


def main() -> int:
    """Write or check the files; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    check = parser.parse_args().check
    outdated = [(path, text) for path, text in written() if _read(path) != text]
    for path, text in outdated:
        if check:
            print(f"{path} is outdated; run: python scripts/protocol.py", file=sys.stderr)
        else:
            (ROOT / path).write_text(text, encoding="utf-8")
    return 1 if check and outdated else 0


def _read(path: Path) -> str:
    whole = ROOT / path
    return whole.read_text(encoding="utf-8") if whole.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
