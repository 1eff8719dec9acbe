from weam_ext.align.cli import main
from weam_ext.common.errors import run

if __name__ == "__main__":
    run("weam_ext.align", main)
