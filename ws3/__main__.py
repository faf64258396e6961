"""`python -m ws3` is `ws3`."""

from ws3.cli import main

main()
