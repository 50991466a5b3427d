//! Which tactic of MITRE ATT&CK a technique serves.
//!
//! A technique may serve several; this is the one that the matrix for containers lists first, or
//! that the shipped detections mean.

/// The tactic of a technique such as `T1552.007`; `None` of one that is not known.
#[must_use]
pub fn tactic(technique: &str) -> Option<&'static str> {
    if technique == "T1098.006" {
        return Some("privilege-escalation");
    }
    Some(match technique.split('.').next().unwrap_or_default() {
        "T1078" | "T1133" | "T1190" | "T1195" => "initial-access",
        "T1053" | "T1059" | "T1072" | "T1204" | "T1609" | "T1610" => "execution",
        "T1098" | "T1136" | "T1525" | "T1543" | "T1546" | "T1556" => "persistence",
        "T1068" | "T1548" | "T1611" => "privilege-escalation",
        "T1027" | "T1036" | "T1070" | "T1140" | "T1562" | "T1564" | "T1578" | "T1612" | "T1685"
        | "T1686" => "defense-evasion",
        "T1003" | "T1110" | "T1528" | "T1552" | "T1557" | "T1606" | "T1649" => "credential-access",
        "T1046" | "T1069" | "T1087" | "T1580" | "T1613" => "discovery",
        "T1021" | "T1550" | "T1570" => "lateral-movement",
        "T1005" | "T1074" | "T1530" => "collection",
        "T1071" | "T1090" | "T1095" | "T1105" | "T1572" => "command-and-control",
        "T1041" | "T1048" | "T1537" | "T1567" => "exfiltration",
        "T1485" | "T1486" | "T1489" | "T1490" | "T1491" | "T1496" | "T1498" | "T1499" | "T1531"
        | "T1565" => "impact",
        _ => return None,
    })
}
