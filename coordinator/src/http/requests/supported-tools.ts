import { ApiError } from '../errors.ts';

/**
 * Parts a request's tools into those that can be offered and the names of the others, which have no effect: agents send tools of
 * their provider's servers beside their own, whatever the model. Throws an ApiError if nothing would be left of what was asked.
 */
export function supportedTools<T extends { type?: string | null | undefined }>(
  tools: readonly T[],
  isSupported: (tool: T) => boolean,
): { supported: T[]; ignored: string[] } {
  const ignored = tools.flatMap((tool, index) => (isSupported(tool) ? [] : [`tools[${index}]`]));
  if (tools.length > 0 && ignored.length === tools.length) {
    throw ApiError.invalid(
      'tools[0].type',
      "Invalid 'tools[0].type': tools that a provider's servers run do not exist here. Send functions of your own.",
    );
  }
  return { supported: tools.filter(isSupported), ignored };
}
