"""Makes the databases of this folder: `pip install mmdb_writer && python make.py`."""

from netaddr import IPSet
from mmdb_writer import MMDBWriter

NETWORKS = [
    ("192.0.2.0/24", 64500, "Example Access", "NL"),
    ("198.51.100.0/24", 64501, "Example Hosting", "DE"),
    ("203.0.113.0/24", 4200000001, "Example Mobile", "BR"),
    ("2001:db8::/32", 64502, "Example Six", "JP"),
]


def write(name, of, record):
    writer = MMDBWriter(
        ip_version=6,
        int_type="u32",
        ipv4_compatible=True,
        database_type=of,
        languages=["en"],
        description="Addresses for documentation, private-use numbers",
    )
    for network, *facts in NETWORKS:
        writer.insert_network(IPSet([network]), record(*facts))
    writer.to_db_file(f"{name}.mmdb")


write("asn", "GeoLite2-ASN", lambda asn, org, _: {
    "autonomous_system_number": asn,
    "autonomous_system_organization": org,
})
write("country", "GeoLite2-Country", lambda _asn, _org, code: {
    "country": {"iso_code": code},
})
write("flat", "Flat", lambda asn, org, code: {
    "asn": f"AS{asn}",
    "as_name": org,
    "country_code": code.lower(),
})
