"""Parts of the scripted 2019 pool; see pool.py beside this directory."""
