-- Verifies the API key of a request with mintkey and passes its identity headers to the upstream.
-- Install as /etc/haproxy/mintkey.lua, beside haproxy.cfg.

local forward_url = "http://127.0.0.1:8080/api/auth/forward"
local credentials = { "authorization", "x-api-key" }
local identity = { "x-auth-key-id", "x-auth-subject", "x-auth-issuer", "x-auth-org", "x-auth-scopes" }
-- Responses of mintkey that the client gets, with these headers. Instead of any other it gets 503.
local passed_on = { [401] = true, [403] = true, [429] = true, [503] = true }
local passed_headers = { "www-authenticate", "content-type", "retry-after" }

-- HAProxy numbers the values of a header from 0, Lua tables start at 1. Keeps their order.
local function values(headers, name)
    local list, numbered = {}, headers and headers[name] or {}
    while numbered[#list] do
        table.insert(list, numbered[#list])
    end
    return list
end

local function deny(txn, status, response)
    local reply = txn:reply({ status = status, body = response and response.body or "" })
    for _, name in ipairs(passed_headers) do
        local value = values(response and response.headers, name)[1]
        if value then
            reply:add_header(name, value)
        end
    end
    txn:done(reply)
end

core.register_action("mintkey", { "http-req" }, function(txn)
    local received = txn.http:req_get_headers()
    local headers = {}
    for _, name in ipairs(credentials) do
        headers[name] = values(received, name)
    end
    local addresses = values(received, "x-forwarded-for")
    table.insert(addresses, txn.sf:src())
    headers["x-forwarded-for"] = { table.concat(addresses, ", ") }
    local url = forward_url
    local scope = txn:get_var("txn.required_scope")
    if scope then
        url = url .. "?required_scope=" .. scope
    end

    -- HAProxy 2.6 tries four times: 1.1 s each without a response, a second apart without a connection.
    local response = core.httpclient():get({ url = url, headers = headers, timeout = 1100 })
    if passed_on[response.status] then
        return deny(txn, response.status, response)
    elseif response.status ~= 200 then
        return deny(txn, 503)
    end
    for _, name in ipairs(identity) do
        txn.http:req_set_header(name, values(response.headers, name)[1])
    end
    txn:set_var("txn.mintkey", "allowed")
end)
