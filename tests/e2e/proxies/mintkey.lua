-- Asks mintkey whether the key of a request is good, and tells the upstream whose it is.

local forward = "http://127.0.0.1:8080/api/auth/forward"
local credentials = { "authorization", "x-api-key" }
local identity = { "x-auth-key-id", "x-auth-subject", "x-auth-issuer", "x-auth-org", "x-auth-scopes" }

-- HAProxy counts the values of a header from 0, Lua from 1.
local function values(headers, name)
    local list = {}
    for _, value in pairs(headers and headers[name] or {}) do
        table.insert(list, value)
    end
    return list
end

local function refuse(txn, status, challenge)
    local reply = txn:reply({ status = status })
    if challenge then
        reply:add_header("WWW-Authenticate", challenge)
    end
    txn:done(reply)
end

core.register_action("mintkey", { "http-req" }, function(txn)
    local sent = txn.http:req_get_headers()
    local headers = {}
    for _, name in ipairs(credentials) do
        headers[name] = values(sent, name)
    end
    local url = forward
    local scope = txn:get_var("txn.required_scope")
    if scope then
        url = url .. "?required_scope=" .. scope
    end

    -- HAProxy asks up to four times before it gives up, a second apart.
    local answer = core.httpclient():get({ url = url, headers = headers, timeout = 2000 })
    if answer.status == 401 or answer.status == 403 then
        return refuse(txn, answer.status, values(answer.headers, "www-authenticate")[1])
    elseif answer.status ~= 200 then
        return refuse(txn, 503)
    end
    for _, name in ipairs(identity) do
        txn.http:req_set_header(name, values(answer.headers, name)[1])
    end
    txn:set_var("txn.mintkey", "good")
end)
