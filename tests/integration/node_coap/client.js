// A CoAP client on npm's `coap`, driven line by line: a JSON object on stdin is one request, a JSON object on stdout is one
// reply or one notification. Payloads are hexadecimal.
//
//   {"id": 1, "method": "PUT", "path": "/f/fib", "payload": "00617...", "format": 42, "block": 64}
//   {"id": 2, "method": "GET", "path": "/d/m", "observe": true}      then notifications with id 2, until
//   {"id": 2, "close": true}
//
//   {"id": 1, "code": "2.01", "format": null, "payload": "", "observe": null}
//   {"id": 1, "error": "..."}
'use strict'

const dgram = require('node:dgram')
const readline = require('node:readline')
const coap = require('coap')

const [host, port] = process.argv.slice(2)
const observations = new Map()
// With a socket of its own the agent would close it before it sends the end of the last observation, and throw.
const agent = new coap.Agent({ socket: dgram.createSocket('udp4') })

function say (id, what) {
    process.stdout.write(JSON.stringify({ id, ...what }) + '\n')
}

// Block options are passed as their one byte: number 0 and the size exponent.
function blockOption (bytes) {
    return Buffer.of(Math.log2(bytes) - 4)
}

function describe (res, payload) {
    const format = res.headers['Content-Format']
    const observe = res.headers.Observe
    return {
        code: res.code,
        format: format === undefined ? null : format,
        observe: observe === undefined ? null : observe,
        payload: payload.toString('hex')
    }
}

function request (order) {
    const options = {}
    if (order.block) {
        options[order.payload ? 'Block1' : 'Block2'] = blockOption(order.block)
    }
    if (order.new) {
        options['If-None-Match'] = Buffer.alloc(0)
    }
    const req = coap.request({
        agent,
        host,
        port,
        method: order.method,
        pathname: order.path,
        query: order.query,
        observe: order.observe === true,
        accept: order.accept,
        contentFormat: order.format,
        options
    })
    req.on('error', (error) => say(order.id, { error: String(error) }))
    req.on('timeout', (error) => say(order.id, { error: String(error) }))
    req.on('response', (res) => {
        if (order.observe === true && res.headers.Observe !== undefined) {
            observations.set(order.id, res)
            res.on('data', (payload) => say(order.id, describe(res, payload)))
        } else {
            say(order.id, describe(res, res.payload))
        }
    })
    req.end(order.payload ? Buffer.from(order.payload, 'hex') : undefined)
}

const input = readline.createInterface({ input: process.stdin })
input.on('line', (line) => {
    const order = JSON.parse(line)
    if (order.close === true) {
        observations.get(order.id).close(true)
        observations.delete(order.id)
        say(order.id, { closed: true })
    } else {
        request(order)
    }
})
// Nobody waits for what is still under way, such as the reply that ends an observation.
input.on('close', () => setTimeout(() => process.exit(0), 50))
