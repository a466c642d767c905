// Evaluates IAM requests against a policy: a JSON document a line in, a JSON document a line out.
//   node iam_simulate.mjs FOLDER    where FOLDER/node_modules has @cloud-copilot/iam-simulate
// In:  {"policy": {...}, "requests": [{"action", "resource", "account", "context"}]}
// Out: [{"allowed": true, "note": ""}], a note says why a request could not be evaluated.
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'

const { runSimulation, runUnsafeSimulation } = createRequire(`${process.argv[2]}/`)('@cloud-copilot/iam-simulate')

async function evaluate(policy, { action, resource, account, context }) {
  const simulation = {
    request: {
      principal: `arn:${resource.split(':')[1] ?? 'aws'}:iam::${account}:user/controller`,
      action,
      resource: { resource, accountId: account },
      contextVariables: context,
    },
    identityPolicies: [{ name: 'policy', policy }],
    serviceControlPolicies: [],
    resourceControlPolicies: [],
  }
  const answer = await runSimulation(simulation, {})
  if (answer.resultType !== 'error') {
    return { allowed: answer.overallResult === 'Allowed', ignored: answer.result?.ignoredContextKeys ?? [], note: '' }
  }
  // AWS's own parameters and documents have no account in their ARN, which the tables of resource types do not know.
  if (answer.errors.message === 'no.resource.types' && resource.split(':')[4] === '') {
    return { allowed: runUnsafeSimulation(simulation, {}) === 'Allowed', ignored: [], note: '' }
  }
  return { allowed: false, ignored: [], note: JSON.stringify(answer.errors) }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { policy, requests } = JSON.parse(line)
  const answers = []
  for (const request of requests) answers.push(await evaluate(policy, request))
  console.log(JSON.stringify(answers))
}
