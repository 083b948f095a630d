// The life of a key, with a client by openapi-generator: base URL and token are the arguments.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"time"

	"lifecycle/mintkey"
)

var ctx = context.Background()

// A client that sends this credential.
func connect(credential string) *mintkey.APIClient {
	configuration := mintkey.NewConfiguration()
	configuration.Servers = mintkey.ServerConfigurations{{URL: os.Args[1]}}
	configuration.AddDefaultHeader("Authorization", "Bearer "+credential)
	return mintkey.NewAPIClient(configuration)
}

// ok returns the result of a call, or exits.
func ok[T any](result T, _ *http.Response, err error) T {
	check(err == nil, err)
	return result
}

// What the service has against a request.
func problem(err error, status int32) mintkey.ProblemDetail {
	var refused *mintkey.GenericOpenAPIError
	check(errors.As(err, &refused), "not refused, but", err)
	problem, is := refused.Model().(mintkey.ProblemDetail)
	check(is, "no problem, but", refused.Model())
	check(problem.Status == status && problem.GetRequestId() != "", problem)
	return problem
}

func check(holds bool, otherwise ...any) {
	if !holds {
		panic(fmt.Sprintln(otherwise...))
	}
}

func random() string {
	bytes := make([]byte, 16)
	_, err := rand.Read(bytes)
	check(err == nil, err)
	return hex.EncodeToString(bytes)
}

func main() {
	client := connect(os.Args[2])
	keys := client.APIKeysAPI

	// Create: only this response and that of a rotation contain the secret. The same request twice
	// creates one key.
	request := mintkey.NewApiKeyCreateRequest("ci")
	request.SetScopes([]string{"projects:read"})
	request.SetMetadata(map[string]any{"team": "billing"})
	request.SetExpiresInSeconds(3600)
	create := keys.CreateMyApiKey(ctx).IdempotencyKey(random()).ApiKeyCreateRequest(*request)
	created := ok(create.Execute())
	replayed, response, err := create.Execute()
	check(err == nil && replayed.Key == created.Key, err, replayed)
	check(response.Header.Get("Idempotency-Replayed") == "true", response.Header)
	second := ok(keys.CreateMyApiKey(ctx).ApiKeyCreateRequest(*mintkey.NewApiKeyCreateRequest("second")).Execute())

	// List, a key a page.
	var names []string
	list := keys.ListMyApiKeys(ctx).Limit(1)
	for {
		page := ok(list.Execute())
		for _, key := range page.Items {
			names = append(names, key.Name)
		}
		if !page.HasNextCursor() {
			break
		}
		list = list.Cursor(page.GetNextCursor())
	}
	check(reflect.DeepEqual(names, []string{"second", "ci"}), names)

	// Update, unless the key was changed in between.
	got, response, err := keys.GetMyApiKey(ctx, created.Id).Execute()
	check(err == nil && got.Status == mintkey.ACTIVE, err, got)
	etag := response.Header.Get("ETag")
	change := mintkey.NewApiKeyUpdateRequest()
	change.SetName("deploy")
	change.SetExpiresAtNil()
	updated := ok(keys.UpdateMyApiKey(ctx, created.Id).IfMatch(etag).ApiKeyUpdateRequest(*change).Execute())
	check(updated.Name == "deploy" && !updated.HasExpiresAt(), updated)
	_, _, err = keys.UpdateMyApiKey(ctx, created.Id).IfMatch(etag).ApiKeyUpdateRequest(*change).Execute()
	problem(err, http.StatusPreconditionFailed)

	// Rotate: both secrets are good for a while, and a second rotation waits until then.
	rotation := mintkey.NewApiKeyRotateRequest()
	rotation.SetGraceSeconds(3600)
	rotated := ok(keys.RotateMyApiKey(ctx, created.Id).ApiKeyRotateRequest(*rotation).Execute())
	_, _, err = keys.RotateMyApiKey(ctx, created.Id).Execute()
	conflict := problem(err, http.StatusConflict)
	check(conflict.GetType() == "urn:mintkey:problem:rotation-in-progress", conflict)

	// Rotate without a body, and retry: the same Idempotency-Key returns the same secret.
	retried := keys.RotateMyApiKey(ctx, second.Id).IdempotencyKey(random())
	check(ok(retried.Execute()).Key == ok(retried.Execute()).Key)

	// Verify, as a gateway does.
	verify := func(key string, scopes ...string) *mintkey.ApiKeyVerifyResponse {
		question := mintkey.NewApiKeyVerifyRequest(key)
		question.SetScopes(scopes)
		return ok(client.VerificationAPI.VerifyApiKey(ctx).ApiKeyVerifyRequest(*question).Execute())
	}
	verdict := verify(rotated.Key, "projects:read")
	check(verdict.Valid && verdict.Owner.Subject == "alice" && verdict.Metadata["team"] == "billing", verdict)
	check(verify(created.Key).Code == mintkey.CodeValid)
	check(verify(created.Key, "projects:write").Code == mintkey.CodeInsufficientScope)
	check(verify("mk_nonsense").Code == mintkey.CodeNotFound)

	// Usage, day by day, up to a minute behind.
	usage := ok(keys.GetMyApiKeyUsage(ctx, created.Id).Execute())
	_, err = time.Parse("2006-01-02", usage.To)
	check(err == nil, usage)

	// Revoke permanently.
	reason := mintkey.NewApiKeyRevokeRequest()
	reason.SetReason("leaked")
	revoked := ok(keys.RevokeMyApiKey(ctx, created.Id).ApiKeyRevokeRequest(*reason).Execute())
	check(revoked.GetRevokeReason() == "leaked", revoked)
	check(verify(rotated.Key).Code == mintkey.CodeRevoked)

	// Delete.
	_, err = keys.DeleteMyApiKey(ctx, second.Id).Execute()
	check(err == nil, err)
	_, _, err = keys.GetMyApiKey(ctx, second.Id).Execute()
	problem(err, http.StatusNotFound)

	// Audit.
	var actions []string
	for _, event := range ok(client.AuditAPI.ListMyAuditEvents(ctx).KeyId(created.Id).Execute()).Items {
		actions = append(actions, event.Action)
	}
	check(reflect.DeepEqual(actions, []string{"revoked", "rotated", "updated", "created"}), actions)

	// Problems say what to change.
	_, _, err = connect("not-a-token").APIKeysAPI.ListMyApiKeys(ctx).Execute()
	problem(err, http.StatusUnauthorized)
	_, _, err = keys.CreateMyApiKey(ctx).ApiKeyCreateRequest(*mintkey.NewApiKeyCreateRequest("")).Execute()
	unnamed := problem(err, http.StatusUnprocessableEntity)
	check(unnamed.Errors[0].Pointer == "/name", unnamed)
}
