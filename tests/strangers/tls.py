"""Scans a gateway's TLS with sslyze and holds what it finds against what is promised: SEALGATE FOLDER PROTOCOL..."""

import json
import subprocess
import sys
from urllib.parse import urlparse

from sslyze import (
    ScanCommand,
    Scanner,
    ServerNetworkLocation,
    ServerScanRequest,
    ServerScanStatusEnum,
)

PROTOCOLS = ["SSL_2_0", "SSL_3_0", "TLS_1_0", "TLS_1_1", "TLS_1_2", "TLS_1_3"]
OTHERS = {
    ScanCommand.HEARTBLEED,
    ScanCommand.ROBOT,
    ScanCommand.OPENSSL_CCS_INJECTION,
    ScanCommand.TLS_COMPRESSION,
    ScanCommand.SESSION_RENEGOTIATION,
    ScanCommand.TLS_1_3_EARLY_DATA,
    ScanCommand.TLS_FALLBACK_SCSV,
}


def main(sealgate: str, folder: str, expected: list[str]) -> int:
    serve = [sealgate, "serve", "--dir", folder, "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as gateway:
        try:
            ready = gateway.stdout.readline()
            return scan(urlparse(json.loads(ready)["device_url"]).port, expected)
        finally:
            gateway.terminate()


def scan(port: int, expected: list[str]) -> int:
    commands = OTHERS | {ScanCommand(f"{protocol.lower()}_cipher_suites") for protocol in PROTOCOLS}
    scanner = Scanner()
    scanner.queue_scans(
        [ServerScanRequest(ServerNetworkLocation("localhost", port, "127.0.0.1"), scan_commands=commands)]
    )
    (found,) = scanner.get_results()
    if found.scan_status != ServerScanStatusEnum.COMPLETED:
        print(f"the gateway could not be scanned: {found.connectivity_error_trace}")
        return 1
    result = found.scan_result
    wrong = []

    def check(what: str, holds: bool) -> None:
        if not holds:
            wrong.append(what)

    suites = {}
    for protocol in PROTOCOLS:
        accepted = getattr(result, f"{protocol.lower()}_cipher_suites").result.accepted_cipher_suites
        suites[protocol] = [suite.cipher_suite.name for suite in accepted]
    spoken = [protocol for protocol in PROTOCOLS if suites[protocol]]
    check(f"protocols {spoken}", spoken == expected)
    for suite in suites["TLS_1_2"]:
        strong = "_ECDHE_" in suite and ("_GCM_" in suite or "_CHACHA20_" in suite)
        check(f"suite {suite}", strong)
    check("heartbleed", not result.heartbleed.result.is_vulnerable_to_heartbleed)
    check("robot", "VULNERABLE" not in result.robot.result.robot_result.name.replace("NOT_VULNERABLE", ""))
    check("ccs injection", not result.openssl_ccs_injection.result.is_vulnerable_to_ccs_injection)
    check("compression", not result.tls_compression.result.supports_compression)
    check(
        "renegotiation by clients",
        not result.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos,
    )
    check("early data", not result.tls_1_3_early_data.result.supports_early_data)

    print(f"sslyze: {', '.join(spoken)}" + "".join(f"\n  wrong: {what}" for what in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
