"""`python -m interpbench`, the same program as the console script `interpbench`."""

from interpbench.commands.app import main

if __name__ == "__main__":
    main()
