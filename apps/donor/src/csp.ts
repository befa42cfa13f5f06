// zod compiles its parsers with `new Function` where it may. Our policy forbids that, and the browser would report the
// attempt as a violation though zod catches it: say beforehand that it needn't try. Import this before anything else.
Object.assign(globalThis, { __zod_globalConfig: { jitless: true } });
