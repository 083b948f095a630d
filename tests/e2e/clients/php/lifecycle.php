<?php

// The life of a key, with a client by openapi-generator (php): base URL and token are the arguments.

declare(strict_types=1);

use Mintkey\Api\APIKeysApi;
use Mintkey\Api\AuditApi;
use Mintkey\Api\VerificationApi;
use Mintkey\ApiException;
use Mintkey\Configuration;
use Mintkey\Model\ApiKeyCreateRequest;
use Mintkey\Model\ApiKeyRevokeRequest;
use Mintkey\Model\ApiKeyRotateRequest;
use Mintkey\Model\ApiKeyUpdateRequest;
use Mintkey\Model\ApiKeyVerifyRequest;
use Mintkey\Model\ApiKeyVerifyResponse;
use Mintkey\Model\AuditEvent;
use Mintkey\Model\ProblemDetail;
use Mintkey\Model\Status;
use Mintkey\Model\VerificationCode;

// Debian's Guzzle, and the generated classes. With Composer, this is `vendor/autoload.php`.
require 'GuzzleHttp/autoload.php';
spl_autoload_register(function (string $class): void {
    if (str_starts_with($class, 'Mintkey\\')) {
        require __DIR__ . '/mintkey/lib/' . strtr(substr($class, strlen('Mintkey\\')), '\\', '/') . '.php';
    }
});
set_error_handler(fn (int $level, string $message) => throw new ErrorException($message));

[, $baseUrl, $token] = $argv;

/** Settings of a client that sends this credential. */
function connect(string $credential): Configuration
{
    global $baseUrl;
    return (new Configuration())->setHost($baseUrl)->setAccessToken($credential);
}

/** What the service has against a request. */
function problem(int $status, callable $call): ProblemDetail
{
    try {
        $call();
    } catch (ApiException $refused) {
        $problem = $refused->getResponseObject();
        equal($refused->getCode(), $status);
        equal($problem->getStatus(), $status);
        equal($refused->getResponseHeaders()['x-request-id'], [$problem->getRequestId()]);
        return $problem;
    }
    throw new AssertionError('not refused');
}

function equal(mixed $found, mixed $expected): void
{
    if ($found !== $expected) {
        throw new AssertionError(var_export($found, true) . ' instead of ' . var_export($expected, true));
    }
}

$keys = new APIKeysApi(config: connect($token));
$verification = new VerificationApi(config: connect($token));

// Create: only this response and that of a rotation contain the secret. The same request twice creates one key.
$request = (new ApiKeyCreateRequest())
    ->setName('ci')
    ->setScopes(['projects:read'])
    ->setMetadata(['team' => 'billing'])
    ->setExpiresInSeconds(3600);
$idempotencyKey = bin2hex(random_bytes(16));
$created = $keys->createMyApiKey($request, idempotency_key: $idempotencyKey);
[$replayed, , $headers] = $keys->createMyApiKeyWithHttpInfo($request, idempotency_key: $idempotencyKey);
equal($replayed->getKey(), $created->getKey());
equal($headers['idempotency-replayed'], ['true']);
$tomorrow = new DateTime('tomorrow');
$second = $keys->createMyApiKey((new ApiKeyCreateRequest())->setName('zwölf Schlüssel 🔑')->setExpiresAt($tomorrow));
equal($second->getExpiresAt()->getTimestamp(), $tomorrow->getTimestamp());

// List, a key a page.
$names = [];
$cursor = null;
do {
    $page = $keys->listMyApiKeys(limit: 1, cursor: $cursor);
    foreach ($page->getItems() as $key) {
        $names[] = $key->getName();
    }
    $cursor = $page->getNextCursor();
} while ($cursor !== null);
equal($names, ['zwölf Schlüssel 🔑', 'ci']);

// Update, unless the key was changed in between.
$id = $created->getId();
[$got, , $headers] = $keys->getMyApiKeyWithHttpInfo($id);
equal($got->getStatus(), Status::ACTIVE);
[$etag] = $headers['etag'];
$change = (new ApiKeyUpdateRequest())->setName('deploy')->setExpiresAt(null);
$updated = $keys->updateMyApiKey($id, $change, if_match: $etag);
equal($updated->getName(), 'deploy');
equal($updated->getExpiresAt(), null);
equal($updated->getScopes(), ['projects:read']);
problem(412, fn () => $keys->updateMyApiKey($id, (new ApiKeyUpdateRequest())->setName('lost'), if_match: $etag));

// Rotate: both secrets are good for a while, and a second rotation waits until then.
$rotation = (new ApiKeyRotateRequest())->setGraceSeconds(3600);
$rotated = $keys->rotateMyApiKey($id, api_key_rotate_request: $rotation);
$conflict = problem(409, fn () => $keys->rotateMyApiKey($id));
equal($conflict->getType(), 'urn:mintkey:problem:rotation-in-progress');
equal($keys->rotateMyApiKey($second->getId())->getKey() === $second->getKey(), false);

// Verify, as a gateway does.
$verify = fn (string $key, string ...$scopes): ApiKeyVerifyResponse =>
    $verification->verifyApiKey((new ApiKeyVerifyRequest())->setKey($key)->setScopes($scopes));
$verdict = $verify($rotated->getKey(), 'projects:read');
equal([$verdict->getValid(), $verdict->getOwner()->getSubject()], [true, 'alice']);
equal($verdict->getMetadata(), ['team' => 'billing']);
equal($verify($created->getKey())->getCode(), VerificationCode::CODE_VALID);
equal($verify($created->getKey(), 'projects:write')->getCode(), VerificationCode::CODE_INSUFFICIENT_SCOPE);
equal($verify('mk_nonsense')->getCode(), VerificationCode::CODE_NOT_FOUND);

// Usage, day by day, up to a minute behind.
$usage = $keys->getMyApiKeyUsage($id);
equal($usage->getFrom()->diff($usage->getTo())->days, 29);

// Revoke permanently.
$reason = (new ApiKeyRevokeRequest())->setReason('leaked');
$revoked = $keys->revokeMyApiKey($id, api_key_revoke_request: $reason);
equal($revoked->getRevokeReason(), 'leaked');
equal($verify($rotated->getKey())->getCode(), VerificationCode::CODE_REVOKED);

// Delete.
$keys->deleteMyApiKey($second->getId());
problem(404, fn () => $keys->getMyApiKey($second->getId()));

// Audit.
$events = (new AuditApi(config: connect($token)))->listMyAuditEvents(key_id: $id)->getItems();
$actions = array_map(fn (AuditEvent $event) => $event->getAction(), $events);
equal($actions, ['revoked', 'rotated', 'updated', 'created']);

// Problems say what to change. A name without a character does not even leave this client.
problem(401, fn () => (new APIKeysApi(config: connect('not-a-token')))->listMyApiKeys());
try {
    (new ApiKeyCreateRequest())->setName('');
    throw new AssertionError('not refused');
} catch (InvalidArgumentException) {
}
$ended = (new ApiKeyCreateRequest())->setName('ended')->setExpiresAt(new DateTime('yesterday'));
equal(problem(422, fn () => $keys->createMyApiKey($ended))->getErrors()[0]->getPointer(), '/expires_at');
