"""The front: what every request passes before it is read: headers, hosts, paths, keys, sizes. Deny by default.

The same middlewares stand before the inline server and inside Ray Serve's proxy.
"""
