"""`relocate-proxy VERB`: JSON on stdin where the verb takes any, JSON on stdout; one line on stderr and
exit 1 on failure."""

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0:0] = [str(Path(__file__).resolve().parent.parent)]

from relocate_proxy import verbs

raise SystemExit(verbs.main(sys.argv[1:]))
