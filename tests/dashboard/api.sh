#!/bin/bash
# The OpenAPI document against the API: api.sh TURNOUT. schemathesis makes requests by the document, right and wrong ones, a bounded number of
# each with a fixed seed, and holds every answer against it. The router has two homes that nobody answers for, and asks for tokens.
set -euo pipefail
binary=$(realpath "$1")
cd "$(dirname "$0")/../.."

venv=target/schemathesis
version=4.32.5
if [[ ! -x $venv/bin/st ]] || [[ $("$venv/bin/st" --version) != *" $version" ]]; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

folder=$(mktemp -d)
router=
finish() {
    if [[ $router ]]; then kill "$router" 2>/dev/null || true; fi
    rm -rf "$folder"
}
trap finish EXIT

"$binary" dev-certs "$folder" >/dev/null
"$binary" token tests --role operate --tokens "$folder/admin-tokens" --out "$folder/token" >/dev/null
cat >"$folder/turnout.toml" <<'TOML'
domains = ["contoso.com"]
[federation]
listen = ["127.0.0.1:0"]
certificate = "contoso.com.pem"
key = "contoso.com.key"
ca_file = "ca.pem"
[[partner]]
domain = "partner.example"
proxy = "127.0.0.1:1"
[home.legacy]
backend = "xmpp"
connect = ["127.0.0.1:2"]
listen = "127.0.0.1:0"
registrar_pools = ["sfb2015.contoso.com", "lync2013.contoso.com"]
[home.sfb2019]
backend = "sip"
connect = ["localhost:3"]
listen = "127.0.0.1:0"
certificate = "turnout.contoso.com.pem"
key = "turnout.contoso.com.key"
ca_file = "ca.pem"
registrar_pools = ["pool2019.contoso.com"]
[directory]
source = "csv"
file = "users.csv"
default_xmpp_access = true
[engine]
shards = 2
[admin]
listen = "127.0.0.1:0"
tokens_file = "admin-tokens"
TOML
NO_COLOR=1 "$binary" run --config "$folder/turnout.toml" 2>"$folder/log" &
router=$!
address=
for _ in $(seq 300); do
    address=$(sed -n 's/.*turnout is up.*admin=\([0-9.:]*\).*/\1/p' "$folder/log")
    if [[ $address ]]; then break; fi
    if ! kill -0 "$router" 2>/dev/null; then break; fi
    sleep 0.1
done
[[ $address ]] || { cat "$folder/log" >&2; exit 1; }

# It leaves a folder of its own where it runs.
st=$PWD/$venv/bin/st
cd "$folder"
# A drain would end it, a stream never ends, and a probe asks DNS for whatever name was made up and takes its time. A test message of the
# document's own example waits for its partner, who is away, for 20 s as one from a SIP home and for 60 s otherwise, and the router says
# what became of it after 75 s at the latest: the client has to have more patience than that.
"$st" run "http://$address/api/openapi.json" --header "Authorization: Bearer $(cat "$folder/token")" \
    --exclude-path /api/drain --exclude-path /api/events/stream --exclude-path /api/probe --phases examples,coverage,fuzzing \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --max-examples 6 --seed 1 --generation-database none --request-timeout 90 --no-color || {
    tail -20 "$folder/log" >&2
    exit 1
}
# Nothing it sent has stopped the router.
kill -0 "$router"
