import { createReferenceBackend } from '@shoal/kernels';
import { describeExpertBackend } from './backend-suite.ts';

describeExpertBackend('reference', async (shape) => createReferenceBackend(shape));
