-- Verifies the API key of a request with mintkey and passes its identity headers to the upstream.
-- Install as /etc/haproxy/mintkey.lua, beside haproxy.cfg.

local forward_url = "http://127.0.0.1:8080/api/auth/forward"
local credentials = { "authorization", "x-api-key" }
local identity = { "x-auth-key-id", "x-auth-subject", "x-auth-issuer", "x-auth-org", "x-auth-scopes" }

-- HAProxy numbers the values of a header from 0, Lua tables start at 1.
local function values(headers, name)
    local list = {}
    for _, value in pairs(headers and headers[name] or {}) do
        table.insert(list, value)
    end
    return list
end

local function deny(txn, status, challenge)
    local reply = txn:reply({ status = status })
    if challenge then
        reply:add_header("WWW-Authenticate", challenge)
    end
    txn:done(reply)
end

core.register_action("mintkey", { "http-req" }, function(txn)
    local received = txn.http:req_get_headers()
    local headers = {}
    for _, name in ipairs(credentials) do
        headers[name] = values(received, name)
    end
    local url = forward_url
    local scope = txn:get_var("txn.required_scope")
    if scope then
        url = url .. "?required_scope=" .. scope
    end

    -- HAProxy tries up to four times, a second apart, before the call fails.
    local response = core.httpclient():get({ url = url, headers = headers, timeout = 2000 })
    if response.status == 401 or response.status == 403 then
        return deny(txn, response.status, values(response.headers, "www-authenticate")[1])
    elseif response.status ~= 200 then
        return deny(txn, 503)
    end
    for _, name in ipairs(identity) do
        txn.http:req_set_header(name, values(response.headers, name)[1])
    end
    txn:set_var("txn.mintkey", "allowed")
end)
