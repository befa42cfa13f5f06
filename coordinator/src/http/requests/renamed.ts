import { ApiError } from '../errors.ts';

/**
 * Runs `work`, and names the parameters in its ApiErrors as another endpoint calls them: `names` are its names by those of
 * /v1/chat/completions, into which requests are translated.
 */
export async function renamed<T>(names: Readonly<Record<string, string>>, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    if (!(thrown instanceof ApiError) || thrown.param === null) throw thrown;
    const name = Object.hasOwn(names, thrown.param) ? names[thrown.param]! : thrown.param;
    const message = thrown.message.replaceAll(`'${thrown.param}'`, `'${name}'`);
    const { code, headers } = thrown;
    throw new ApiError(thrown.status, message, { param: name, code, headers });
  }
}
