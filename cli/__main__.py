"""`python -m cli` does what `gtrack` does."""

from gallery_db.launch import main

if __name__ == "__main__":
    main()
