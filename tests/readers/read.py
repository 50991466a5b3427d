"""Reads a history with programs that know nothing of the one that wrote it.

Usage: read.py TABLE. Prints one JSON object: for each reader the same answers, in the same form.
"""

import json
import os
import sys

import deltalake
import duckdb
import duckdb_extension_delta
import polars
import pyarrow.compute as pc

TABLE = sys.argv[1]

COUNTS = "SELECT cluster, CAST(day AS VARCHAR), count(*) FROM {} GROUP BY 1, 2 ORDER BY 1, 2"
USERS = "SELECT count(DISTINCT user_name) FROM {}"
BODY = "SELECT request_object FROM {} WHERE audit_id = 'read-7'"
TIME = "SELECT epoch_us(event_time) FROM {} WHERE audit_id = 'read-7'"


def answers(counts, users, body, time):
    return {"counts": [list(row) for row in counts], "users": users, "body": body, "time": time}


def ask_duckdb(connection, source):
    def one(query):
        return connection.execute(query.format(source)).fetchall()

    return answers(one(COUNTS), one(USERS)[0][0], one(BODY)[0][0], one(TIME)[0][0])


def ask_arrow(table):
    counts = table.group_by(["cluster", "day"]).aggregate([("event_id", "count")])
    counts = sorted(
        (row["cluster"], str(row["day"]), row["event_id_count"]) for row in counts.to_pylist()
    )
    row = table.filter(pc.field("audit_id") == "read-7").to_pylist()[0]
    time = table.filter(pc.field("audit_id") == "read-7").column("event_time")
    users = pc.count_distinct(table.column("user_name"), mode="only_valid").as_py()
    return answers(counts, users, row["request_object"], time.cast("int64").to_pylist()[0])


def ask_pandas(frame):
    counts = frame.groupby(["cluster", "day"], observed=True).size().sort_index()
    counts = [(cluster, str(day), int(number)) for (cluster, day), number in counts.items()]
    row = frame[frame["audit_id"] == "read-7"].iloc[0]
    time = row["event_time"].value // 1000
    return answers(counts, frame["user_name"].nunique(), row["request_object"], time)


def ask_polars(frame):
    counts = frame.group_by("cluster", "day").len().sort("cluster", "day").collect().rows()
    counts = [(cluster, str(day), number) for cluster, day, number in counts]
    row = frame.filter(polars.col("audit_id") == "read-7")
    body = row.select("request_object").collect().item()
    time = row.select(polars.col("event_time").dt.epoch("us")).collect().item()
    users = frame.select(polars.col("user_name").drop_nulls().n_unique()).collect().item()
    return answers(counts, users, body, time)


def main():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    folder = os.path.dirname(duckdb_extension_delta.__file__)
    extension = os.path.join(folder, f"extensions/v{duckdb.__version__}/delta.duckdb_extension")
    connection.execute(f"LOAD '{extension}'")
    scan = f"delta_scan('{TABLE}')"
    table = deltalake.DeltaTable(TABLE)
    files = ", ".join(f"'{file}'" for file in table.file_uris())
    # Dictionary columns must be plain text to whoever reads the files without the table's log.
    parquet = f"read_parquet([{files}], hive_partitioning = true)"
    described = connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()
    in_files = connection.execute(f"DESCRIBE SELECT * FROM {parquet}").fetchall()
    out = {
        "types": {row[0]: row[1] for row in described},
        "types_in_files": {row[0]: row[1] for row in in_files},
        "files": len(table.file_uris()),
        "readers": {
            "duckdb delta_scan": ask_duckdb(connection, scan),
            "duckdb read_parquet": ask_duckdb(connection, parquet),
            "deltalake": ask_arrow(table.to_pyarrow_table()),
            "pandas": ask_pandas(table.to_pandas()),
            "polars": ask_polars(polars.scan_delta(TABLE)),
        },
    }
    json.dump(out, sys.stdout)


main()
