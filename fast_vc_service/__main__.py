"""``python -m fast_vc_service`` is ``fast-vc``."""

from fast_vc_service.cli import main

main()
