"""Reads a history with Spark.

Usage: spark.py JARS TABLE. Prints one JSON object, in the form of read.py's answers.
"""

import glob
import json
import sys

from pyspark.sql import SparkSession

JARS, TABLE = sys.argv[1:]


def main():
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.jars", ",".join(sorted(glob.glob(f"{JARS}/*.jar"))))
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config(
            "spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"
        )
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", 1)
        .config("spark.databricks.delta.snapshotPartitions", 1)
        .config("spark.ui.enabled", False)
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    spark.read.format("delta").load(TABLE).createOrReplaceTempView("events")

    def rows(query):
        return [list(row) for row in spark.sql(query).collect()]

    counts = "SELECT cluster, CAST(day AS STRING), count(*) FROM events GROUP BY 1, 2 ORDER BY 1, 2"
    of = "FROM events WHERE audit_id = 'read-7'"
    body = rows(f"SELECT request_object, unix_micros(event_time) {of}")
    out = {
        "counts": rows(counts),
        "users": rows("SELECT count(DISTINCT user_name) FROM events")[0][0],
        "body": body[0][0] if body else None,
        "time": body[0][1] if body else None,
    }
    json.dump(out, sys.stdout)


main()
