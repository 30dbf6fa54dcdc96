// Takes a picture of the largest trace in otelite's page, once all of the given number of spans are there.
//
// Arguments: the browser's path, the page's address, the number of spans, the picture's path.

import puppeteer from 'puppeteer-core';
import { setTimeout } from 'node:timers/promises';

const [executablePath, page, spans, path] = process.argv.slice(2);
const deadline = Date.now() + 30_000;
let traces = [];
while (traces.reduce((sum, trace) => sum + trace.span_count, 0) !== Number(spans)) {
    if (Date.now() > deadline) throw new Error(`${spans} spans were sent, listed are ${JSON.stringify(traces)}`);
    await setTimeout(100);
    ({ traces } = await (await fetch(`${page}/api/traces`)).json());
}
const largest = traces.reduce((a, b) => (b.span_count > a.span_count ? b : a));

// Containers lack the rights that Chromium's sandbox needs.
const browser = await puppeteer.launch({ executablePath, pipe: true, args: ['--no-sandbox'] });
const tab = await browser.newPage();
await tab.setViewport({ width: 1200, height: 1600 });
await tab.goto(`${page}/#traces`);
await tab.locator(`[data-trace-id='${largest.trace_id}']`).click();
await tab.waitForFunction(
    (rows) => document.querySelectorAll('.span-row .span-name').length === rows,
    {},
    largest.span_count,
);
const clip = await tab.evaluate(() => {
    const { x, y, width } = document.querySelector('#trace-detail .trace-detail-body').getBoundingClientRect();
    const last = [...document.querySelectorAll('.span-row')].pop().getBoundingClientRect();
    return { x, y, width, height: last.bottom + 16 - y };
});
await tab.screenshot({ path, clip });
await browser.close();
