"""Backups of one database: dumped, verified, drilled, rotated and restored.

dump.dump          one backup into a store, with its proof
catalog.catalog    what there is; catalog.resolve_label finds one
verify.verify      its bytes are those of its manifest
drill.drill        it restores into the same content, and how long that takes
rotate.rotate      retention
restore.restore    into a new database of a server
"""
