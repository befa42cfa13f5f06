// zod tries `new Function`, which our content policy forbids: the browser would report a violation even though zod catches the
// error. This turns the attempt off, and must be imported first.
Object.assign(globalThis, { __zod_globalConfig: { jitless: true } });
