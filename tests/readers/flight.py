"""Asks over Flight SQL with a stock ADBC client.

Usage: flight.py URI [AUTHORITY TOKEN]. Prints one JSON object. With an authority's certificate it
is asked over TLS: with a token, with the token as a password, and with one that is wrong.
"""

import datetime
import json
import sys
import threading

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
from adbc_driver_flightsql import DatabaseOptions

URI = sys.argv[1]

ENDLESS = (
    "SELECT max(a.value + b.value) FROM generate_series(1, 1000000) a, "
    "generate_series(1, 100000) b"
)

VALUES = """
SELECT name, verb, event_time, response_code, truncated, subresource, ['a', NULL] AS list,
  NULL AS nothing, 1.5 AS number, '2026-03-01'::date AS day
FROM events ORDER BY name
"""


def connect(**options):
    return adbc_driver_flightsql.dbapi.connect(URI, db_kwargs=options, autocommit=True)


def failure(ask):
    try:
        ask()
    except adbc_driver_manager.Error as error:
        return [type(error).__name__, error.status_code.name, str(error)]
    return None


def objects(connection):
    """The tables of each schema of each catalogue, with the columns of `events`."""
    found = {}
    for catalog in connection.adbc_get_objects(depth="columns").read_all().to_pylist():
        for schema in catalog["catalog_db_schemas"]:
            for table in schema["db_schema_tables"]:
                name = ".".join(
                    [catalog["catalog_name"], schema["db_schema_name"], table["table_name"]]
                )
                columns = [column["column_name"] for column in table["table_columns"]]
                found[name] = [table["table_type"], columns]
    return found


def cancelled(connection):
    """What becomes of a question that is stopped, as often as it takes."""
    said = []
    with connection.cursor() as cursor:
        asking = threading.Thread(
            target=lambda: said.append(failure(lambda: cursor.execute(ENDLESS).fetchall()))
        )
        asking.start()
        while asking.is_alive():
            asking.join(0.05)
            cursor.adbc_cancel()
    return said[0]


def answers(connection):
    def rows(sql, parameters=None):
        with connection.cursor() as cursor:
            return cursor.execute(sql, parameters).fetchall()

    with connection.cursor() as cursor:
        table = cursor.execute(VALUES).fetch_arrow_table()
    with connection.cursor() as cursor:
        frame = cursor.execute(VALUES).fetch_df()
    with connection.cursor() as cursor:
        many = cursor.execute("SELECT value FROM generate_series(1, 300000)").fetch_arrow_table()
    with connection.cursor() as cursor:
        none = cursor.execute("SELECT name FROM events WHERE false").fetch_arrow_table()
    time = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    prepared = "SELECT name FROM events WHERE name = $1 AND response_code = $2 AND event_time > $3"
    schema = connection.adbc_get_table_schema("events", db_schema_filter="public")
    wrong = {
        "column": "SELECT nmae FROM events",
        "table": "SELECT 1 FROM nowhere",
        "syntax": "SELEC 1",
        "division": "SELECT 1 / 0",
        "change": "DELETE FROM events",
        "late": "SELECT 1 / (value - 250000) FROM generate_series(1, 300000)",
    }
    with connection.cursor() as cursor:
        update = failure(lambda: cursor.executemany("SELECT $1", [(1,), (2,)]))
    return {
        "objects": objects(connection),
        "kinds": connection.adbc_get_table_types(),
        "schema": {field.name: str(field.type) for field in schema},
        "vendor": connection.adbc_get_info()["vendor_name"],
        "types": {field.name: str(field.type) for field in table.schema},
        "rows": json.loads(json.dumps(table.to_pylist(), default=str)),
        "frame": [list(frame["name"]), [int(code) for code in frame["response_code"]]],
        "many": [many.num_rows, sum(many.column("value").to_pylist())],
        "none": [none.num_rows, str(none.schema.field("name").type)],
        "named": rows('SELECT count(*) FROM "auditmill"."public"."events"')[0][0],
        "listed": len(rows("SHOW TABLES")),
        "prepared": rows(prepared, ("c2", 200, time)),
        "null": rows("SELECT $1::text IS NULL", (None,)),
        "wrong": {name: failure(lambda: rows(sql)) for name, sql in wrong.items()},
        "missing": failure(lambda: rows("SELECT $1::bigint, $2::bigint", (1,))),
        "update": update,
        "cancelled": cancelled(connection),
    }


def admissions(authority, token):
    with open(authority, encoding="utf-8") as file:
        trust = {DatabaseOptions.TLS_ROOT_CERTS.value: file.read()}
    header = DatabaseOptions.AUTHORIZATION_HEADER.value

    def ask(**options):
        with connect(**trust, **options) as connection, connection.cursor() as cursor:
            return cursor.execute("SELECT 7").fetchall()[0][0]

    return {
        "token": ask(**{header: f"Bearer {token}"}),
        "password": ask(username="ann", password=token),
        "nothing": failure(ask),
        "wrong token": failure(lambda: ask(**{header: "Bearer wrong"})),
        "wrong password": failure(lambda: ask(username="ann", password="wrong")),
    }


def main():
    if len(sys.argv) > 2:
        out = admissions(*sys.argv[2:])
    else:
        with connect() as connection:
            out = answers(connection)
    json.dump(out, sys.stdout)


main()
