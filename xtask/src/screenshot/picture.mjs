// Takes a picture of a trace in otelite's page, once all of its spans are there.
//
// Arguments: the browser's path, the page's address, the trace's id, the number of its spans, the picture's path.

import puppeteer from 'puppeteer-core';
import { setTimeout } from 'node:timers/promises';

const [executablePath, page, id, spans, path] = process.argv.slice(2);
const deadline = Date.now() + 30_000;
let traces = [];
while (!traces.some((trace) => trace.trace_id === id && trace.span_count === Number(spans))) {
    if (Date.now() > deadline) throw new Error(`no trace ${id} of ${spans} spans in ${JSON.stringify(traces)}`);
    await setTimeout(100);
    ({ traces } = await (await fetch(`${page}/api/traces`)).json());
}

// Containers lack the rights that Chromium's sandbox needs.
const browser = await puppeteer.launch({ executablePath, pipe: true, args: ['--no-sandbox'] });
const tab = await browser.newPage();
await tab.setViewport({ width: 1200, height: 1600 });
await tab.goto(`${page}/#traces`);
await tab.locator(`[data-trace-id='${id}']`).click();
await tab.waitForFunction(
    (rows) => document.querySelectorAll('.span-row .span-name').length === rows,
    {},
    Number(spans),
);
const clip = await tab.evaluate(() => {
    const { x, y, width } = document.querySelector('#trace-detail .trace-detail-body').getBoundingClientRect();
    const last = [...document.querySelectorAll('.span-row')].pop().getBoundingClientRect();
    return { x, y, width, height: last.bottom + 16 - y };
});
await tab.screenshot({ path, clip });
await browser.close();
