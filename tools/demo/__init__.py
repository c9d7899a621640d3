"""``make demo``: a CT goes the whole way through the product and leaves pictures and figures in ``demo/``.

Read ``__main__.py`` first: it is the way of the CT, step by step.
"""
