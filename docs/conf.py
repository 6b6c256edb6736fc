"""How the manual is built: ``make docs``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), *(str(HERE.parent / name) for name in ("", "client", "web"))]

from spalloc_server import __version__  # noqa: E402 - found by the path above

project = "spalloc_server"
author = "the maintainers of spalloc_server"
version = release = __version__
copyright = "2026, the maintainers"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "from_code",
    "pictures",
]
exclude_patterns = ["_build", "_ext", "_static", "exchanges"]
root_doc = "index"
language = "en"
# Quotes only: dashes would be taken from options such as --help.
smartquotes_action = "qe"
nitpicky = False
# "width, height" in a docstring is two attributes, which Sphinx takes for a type and a name.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"spalloc_server {version}"
# Commands are shells' unless a block says otherwise.
highlight_language = "sh"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_show_sourcelink = False
# Long signatures have a line for each parameter.
maximum_signature_line_length = 80
html_copy_source = False

napoleon_google_docstring = False
# What numpydoc calls types are words here ("width, height"), not names to be looked up.
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}

_COMMANDS = {
    "spalloc_server": "share SpiNNaker boards among users",
    "spalloc-simulator": "simulate the BMPs of a configuration",
    "spalloc-state": "look at what a spalloc server has saved",
    "spalloc-history": "keep and show the history of a spalloc server",
    "spalloc-web": "show boards, jobs and history as web pages",
    "spalloc-web-user": "keep the users of the web pages",
    "spalloc": "ask for SpiNNaker boards and hold them",
    "spalloc-ps": "list jobs",
    "spalloc-machine": "show machines",
    "spalloc-job": "show a job, or do something to it",
    "spalloc-where-is": "find a board or chip",
}
# `make man` builds from the folder of the commands alone.
_FOLDER = "" if tags.has("man") else "commands/"  # noqa: F821 - given by Sphinx
man_pages = [(f"{_FOLDER}{name}", name, about, [author], 1) for name, about in _COMMANDS.items()]
man_make_section_directory = False
