import os, sys, requests
question = {"key": sys.argv[1], "scopes": ["projects:read"]}
url, headers = os.environ["MINTKEY_URL"] + "/api/auth/api-keys/verify", {"Authorization": "Bearer " + os.environ["GATEWAY_KEY"]}
answer = requests.post(url, json=question, headers=headers, timeout=5)
answer.raise_for_status()  # not an answer: nobody is let in
print(answer.json()["code"])
