from weam_ext.common.errors import run
from weam_ext.train.loop import main

if __name__ == "__main__":
    run("weam_ext.train", main)
