// A person in a real browser: does the steps that a test names, one a line on standard input, and prints what each finds.
// usage: node browse.mjs MODULES BROWSER
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [modules, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/package.json`)('playwright-core');
// Chromium's own sandbox refuses root, whom tests may run as; every page is our own.
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--no-proxy-server', '--disable-dev-shm-usage'] });
let page;
const steps = {
  anew: async () => {
    page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(60_000);
  },
  open: (url) => page.goto(url),
  fill: (selector, text) => page.fill(selector, text),
  press: (selector) => page.click(selector),
  reach: (pattern) => page.waitForURL(new RegExp(pattern)),
  read: (selector) => page.innerText(selector),
  address: () => page.url(),
  width: (pixels) => page.setViewportSize({ width: pixels, height: 800 }),
  tell: (expression) => page.evaluate(expression).then(String),
};
for await (const line of createInterface({ input: process.stdin })) {
  const [step, ...parameters] = JSON.parse(line);
  const found = await steps[step](...parameters);
  console.log(JSON.stringify(typeof found === 'string' ? found : null));
}
await browser.close();
