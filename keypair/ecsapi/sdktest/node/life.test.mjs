// The official Node SDK through a key pair's whole life. Where the region is and who calls
// is in the environment: see node_test.go.
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, createHash } from 'node:crypto';
import test from 'node:test';
import ecs from '@alicloud/ecs20140526';

const { default: Client } = ecs;
const { ECS_ENDPOINT, ECS_REGION, ECS_LINUX, ECS_WINDOWS } = process.env;
const [first, second] = ECS_LINUX.split(',');
const unknown = 'i-unknown';
const regionId = ECS_REGION;

function connect(secret = process.env.ALIBABA_CLOUD_ACCESS_KEY_SECRET) {
  return new Client({
    accessKeyId: process.env.ALIBABA_CLOUD_ACCESS_KEY_ID,
    accessKeySecret: secret,
    endpoint: ECS_ENDPOINT,
    protocol: 'HTTP',
    regionId,
    toMap() { return { ...this }; },
  });
}

const client = connect();
const request = (name, fields) => new ecs[name + 'Request']({ regionId, ...fields });

// refused checks how the SDK tells an error.
async function refused(promise, statusCode, code) {
  await assert.rejects(promise, (error) => {
    assert.deepEqual({ code: error.code, statusCode: error.statusCode }, { code, statusCode });
    assert.match(error.message, /request id: [0-9A-F-]{36}$/i);
    assert.equal(error.data.Code, code);
    return true;
  });
}

// blob is a public key as SSH has it (RFC 4253, section 6.6), of an RSA key in Node's hands.
function blob(key) {
  const { e, n } = key.export({ format: 'jwk' });
  const text = (bytes) => Buffer.concat([Buffer.from(Uint32Array.of(bytes.length).buffer).swap32(), bytes]);
  const number = (base64) => {
    const bytes = Buffer.from(base64, 'base64url');
    return text(bytes[0] & 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
  };
  return Buffer.concat([text(Buffer.from('ssh-rsa')), number(e), number(n)]);
}

test('a key pair lives its whole life', async (t) => {
  let publicKey;

  await t.test('create: the private key fits the public one', async () => {
    const { body } = await client.createKeyPair(request('CreateKeyPair', {
      keyPairName: 'node-created',
      tag: [new ecs.CreateKeyPairRequestTag({ key: 'owner', value: "al'ice (*) 中" })],
    }));
    assert.match(body.keyPairId, /^ssh-[a-z0-9]{16,20}$/);
    const wire = blob(createPublicKey(createPrivateKey(body.privateKeyBody)));
    const md5 = createHash('md5').update(wire).digest('hex').match(/../g).join(':');
    assert.equal(body.keyPairFingerPrint, md5);
    const found = await client.describeKeyPairs(request('DescribeKeyPairs', { keyPairName: 'node-created', includePublicKey: true }));
    const [pair] = found.body.keyPairs.keyPair;
    publicKey = pair.publicKey;
    assert.equal(publicKey.split(' ')[1], wire.toString('base64'));
    assert.match(pair.creationTime, /^\d{4}-\d\d-\d\dT\d\d:\d\dZ$/);
    assert.deepEqual(pair.tags.tag.map((tag) => [tag.tagKey, tag.tagValue]), [['owner', "al'ice (*) 中"]]);
  });

  await t.test('import', async () => {
    const { body } = await client.importKeyPair(request('ImportKeyPair', { keyPairName: 'node-imported', publicKeyBody: publicKey }));
    assert.equal(body.keyPairName, 'node-imported');
  });

  await t.test('describe: wildcard, tag, page', async () => {
    const find = async (fields) => {
      const { body } = await client.describeKeyPairs(request('DescribeKeyPairs', fields));
      assert.equal(typeof body.totalCount, 'number');
      return [body.keyPairs.keyPair.map((pair) => pair.keyPairName).join(' '), body.totalCount];
    };
    assert.deepEqual(await find({}), ['node-created node-imported', 2]);
    assert.deepEqual(await find({ keyPairName: '*imported' }), ['node-imported', 1]);
    assert.deepEqual(await find({ pageSize: 1, pageNumber: 2 }), ['node-imported', 2]);
    assert.deepEqual(await find({ keyPairName: 'none' }), ['', 0]);
    const tag = [new ecs.DescribeKeyPairsRequestTag({ key: 'owner', value: "al'ice (*) 中" })];
    assert.deepEqual(await find({ tag }), ['node-created', 1]);
  });

  const bound = async () => {
    const { body } = await client.describeInstances(request('DescribeInstances', { instanceIds: JSON.stringify([first, second]) }));
    return Object.fromEntries(body.instances.instance.map((i) => [i.instanceId, i.keyPairName]));
  };

  await t.test('attach to many, and another to one of them', async () => {
    const { body } = await client.attachKeyPair(request('AttachKeyPair', {
      keyPairName: 'node-created', instanceIds: JSON.stringify([first, second, ECS_WINDOWS, unknown]),
    }));
    assert.deepEqual([body.totalCount, body.failCount], ['4', '2']);
    assert.deepEqual(body.results.result.map((r) => [r.instanceId, r.success, r.code]), [
      [first, 'true', '200'], [second, 'true', '200'],
      [ECS_WINDOWS, 'false', 'DependencyViolation.WindowsInstance'],
      [unknown, 'false', 'InvalidInstanceId.NotFound'],
    ]);
    await client.attachKeyPair(request('AttachKeyPair', { keyPairName: 'node-imported', instanceIds: JSON.stringify([second]) }));
    assert.deepEqual(await bound(), { [first]: 'node-created', [second]: 'node-imported' });
  });

  await t.test('reboot', async () => {
    await client.rebootInstance(new ecs.RebootInstanceRequest({ instanceId: first }));
    const deadline = Date.now() + 10_000;
    for (let status = ''; status !== 'Running';) {
      assert.ok(Date.now() < deadline, 'the instance does not run again');
      ({ body: { status } } = await client.describeInstanceAttribute(new ecs.DescribeInstanceAttributeRequest({ instanceId: first })));
    }
    const { body } = await client.rebootInstances(request('RebootInstances', { instanceId: [first, second] }));
    assert.deepEqual(body.instanceResponses.instanceResponse.map((r) => [r.code, r.currentStatus]), [['200', 'Starting'], ['200', 'Starting']]);
  });

  await t.test('tags', async () => {
    const which = { resourceType: 'keypair', resourceId: ['node-imported'] };
    await client.tagResources(request('TagResources', { ...which, tag: [new ecs.TagResourcesRequestTag({ key: 'env', value: 'prod' })] }));
    const { body } = await client.listTagResources(request('ListTagResources', which));
    assert.deepEqual(body.tagResources.tagResource.map((r) => [r.resourceId, r.tagKey, r.tagValue]), [['node-imported', 'env', 'prod']]);
    await client.untagResources(request('UntagResources', { ...which, all: true }));
  });

  await t.test('detach and delete', async () => {
    const all = request('DeleteKeyPairs', { keyPairNames: JSON.stringify(['node-created', 'node-imported']) });
    await refused(client.deleteKeyPairs(all), 400, 'InvalidParameter.KeypairAlreadyAttachedInstance');
    for (const [name, id] of [['node-created', first], ['node-imported', second]]) {
      const { body } = await client.detachKeyPair(request('DetachKeyPair', { keyPairName: name, instanceIds: JSON.stringify([id]) }));
      assert.equal(body.failCount, '0');
    }
    assert.deepEqual(await bound(), { [first]: '', [second]: '' });
    await client.deleteKeyPairs(all);
    await refused(client.deleteKeyPairs(all), 404, 'InvalidKeyPair.NotFound');
  });
});

test('errors have their code and status', async () => {
  await refused(client.createKeyPair(request('CreateKeyPair', {})), 400, 'MissingParameter');
  await refused(client.createKeyPair(request('CreateKeyPair', { keyPairName: '1' })), 400, 'InvalidKeyPairName.Malformed');
  await refused(client.createKeyPair(request('CreateKeyPair', { keyPairName: 'fine', regionId: 'cn-other' })), 404, 'InvalidRegionId.NotFound');
  await refused(client.importKeyPair(request('ImportKeyPair', { keyPairName: 'fine', publicKeyBody: 'no key' })), 400, 'InvalidPublicKeyBody.Malformed');
  await refused(client.attachKeyPair(request('AttachKeyPair', { keyPairName: 'none', instanceIds: '["i-a"]' })), 400, 'InvalidKeyPairName.NotFound');
  await refused(client.describeZones(request('DescribeZones', {})), 404, 'InvalidAction.NotFound');
  await refused(connect('wrong').describeKeyPairs(request('DescribeKeyPairs', {})), 400, 'SignatureDoesNotMatch');
});
